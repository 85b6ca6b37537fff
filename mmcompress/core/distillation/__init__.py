"""A dense network as the teacher of the compact one."""
