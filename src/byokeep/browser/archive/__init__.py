"""Many files as one stream, and back: what a browser profile is between its directory and its seal.

Rules: the same files give the same bytes; a reader refuses everything that the writer would not write, and refuses it
before it has written anything. The format is docs/spec/profile-archive.md. It may not know keys or what files mean.
"""
