-- The settings that `run` uses: one storage, one backend. README.md tells what else there is.
return {
  storages = { images = os.getenv("REVEC_STORAGE") },
  backends = { local_backend = os.getenv("REVEC_API_URL") },
  dir = os.getenv("REVEC_DIR"),
}
