"""The window: Qt widgets over plain results. Never imports a model framework; the engine is a child process."""
