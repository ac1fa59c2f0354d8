"""Cloud: the notebooks at scale, on one machine, on Ray and on Kubernetes."""
