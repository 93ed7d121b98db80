"""Training of DyTrack: data, batched augmentation, losses, self-distillation and the trainer. Needs torch, not ROS."""
