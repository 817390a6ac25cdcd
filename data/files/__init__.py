"""Files of datasets as annotation tools write them: text encodings, paths."""
