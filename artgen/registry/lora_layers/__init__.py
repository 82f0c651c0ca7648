"""Parse the tensor names and shapes of adapters (LoRA, DoRA, LoHa, LoKr) and detect their architecture. Torch-free."""
