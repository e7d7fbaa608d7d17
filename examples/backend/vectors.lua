-- Where vectors come from: { dimension, digest(path), append(parts, digest) }. A digest is what the index keeps of an image and what
-- its vector is made of.
return require(os.getenv("BACKEND_INDEX") and "vectors_of_looks" or "vectors_of_bytes")
