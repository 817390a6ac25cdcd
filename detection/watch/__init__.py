"""Watch: events of cameras by rules: objects that enter, leave, cross, stay, appear and vanish."""
