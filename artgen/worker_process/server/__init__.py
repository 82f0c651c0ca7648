"""Run the worker: receive commands of clients and run them one after another."""
