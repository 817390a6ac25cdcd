"""Writers of annotations in the formats of other tools: YOLO, COCO, VOC, labelme, CSV."""
