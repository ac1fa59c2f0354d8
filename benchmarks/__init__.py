"""Speed, measured: the operators and whole training steps beside other libraries."""
