"""Complete commands, options and values in bash, zsh and fish.

A script in the shell passes the command line up to the cursor to `artgen`, which prints the candidates. Modules that
complete values read files, but never use the network and never import torch.
"""
