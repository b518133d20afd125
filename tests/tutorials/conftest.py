"""Put folders of scripts on the path for these tests only, hidden from other libraries."""


def pytest_ignore_collect(collection_path, config):
    if config.option.markexpr == "peers" and collection_path.suffix == ".py":
        return True if "mark.peers" not in collection_path.read_text(encoding="utf-8") else None
    return None
