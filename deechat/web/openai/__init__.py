"""The API that clients of OpenAI's speak, below `/v1`: a workspace is a model, the password is the key."""
