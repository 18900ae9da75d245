"""The current weather of OpenWeather: how it loads and what it is configured with."""
