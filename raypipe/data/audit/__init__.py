"""Finds augmented siblings by itself: tiles that rotations, flips and zooms made from one source tile.

Tiles that look alike by their histograms are candidates; a candidate pair is a sibling pair if one tile's keypoints,
and then its pixels, fall on the other's under one linear map about the tile's centre. No network is involved.
"""
