"""Classification datasets: image folders, Stanford Cars, object crops, channel statistics."""
