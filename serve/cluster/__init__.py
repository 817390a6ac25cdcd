"""Service on a cluster: replicas behind Ray Serve."""
