"""The student that knows masked faces: what it changes in SFace, and the script that teaches it."""
