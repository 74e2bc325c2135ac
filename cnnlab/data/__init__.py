"""The lessons' data: images in three splits, drawn insects, downloads, your own folders."""
