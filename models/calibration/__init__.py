"""What the bundle says about its embedders' scores, and the script that makes it of counts."""
