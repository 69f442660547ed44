"""Every test runs on one thread, and without a network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"  # Lightning calls jsonargparse by names of before
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")

import torch

torch.set_num_threads(1)
