-- Which ids have a vector: { get, put, delete, count, page, clear }.
return require(os.getenv("BACKEND_INDEX") and "index_in_file" or "index_in_memory")
