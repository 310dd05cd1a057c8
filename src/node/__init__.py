"""The process: settings, command line, compile, wiring, run and drain."""
