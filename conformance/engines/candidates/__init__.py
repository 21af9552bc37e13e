"""Release candidates in cells: wheels that stand in place of released versions, while images and locks stay as they are."""
