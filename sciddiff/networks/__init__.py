"""The local U-Net, embeddings, adapters."""
