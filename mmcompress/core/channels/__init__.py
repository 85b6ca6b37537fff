"""Methods of the first family: channels that go together."""
