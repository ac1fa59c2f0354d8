"""Where runs execute: this machine, Ray, or Kubernetes."""
