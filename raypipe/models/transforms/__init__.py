"""Input transforms: layers in front of a network that change the image itself."""
