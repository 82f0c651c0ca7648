"""The pictures that training learns from: found, verified, captioned, traced to their sources. Nothing here learns."""
