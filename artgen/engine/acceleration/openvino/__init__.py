"""Run the denoiser of a pipeline with OpenVINO (`--acceleration openvino`)."""
