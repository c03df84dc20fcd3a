"""For the installer at a camera: is its picture good enough, where is the ground, which are there.

`probe` looks at a source, `calibrate` fits the ground plane and writes it into `box.toml`,
`discovery` and `onvif` find cameras on the network and their stream addresses. Nothing here keeps a
picture unless a file is named for it.
"""
