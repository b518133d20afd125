"""Put folders of scripts on the path for these tests only, hidden from other libraries."""


def pytest_ignore_collect(config):
    return True if config.option.markexpr == "peers" else None
