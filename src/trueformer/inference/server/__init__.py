"""The HTTP server: OpenAI's interface and a chat page in front of the engine. Needs the extra `serve`."""
