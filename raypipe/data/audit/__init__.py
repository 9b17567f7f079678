"""Detection of augmented siblings: tiles that rotations, flips and zooms made from one source tile.

Tiles with similar color histograms are candidates. A candidate pair is a sibling pair if one linear map about the
tile's center fits it. The map must take one tile's keypoints, and then its pixels, to those of the other. No network is
involved.
"""
