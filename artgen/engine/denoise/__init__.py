"""What `artgen denoise` is made of: noise levels, tiles, samplers and the methods."""
