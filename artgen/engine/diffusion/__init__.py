"""Implement the noise schedule of diffusion: alpha, sigma, SNR, and conversions between x0, epsilon, v and flow."""
