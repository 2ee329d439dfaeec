"""The commands of `lgg-monai`, one function each; heavy imports stay inside them."""
