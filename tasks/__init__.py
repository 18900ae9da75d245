"""What Prefect adds to a run: tasks, the nodes of a build, states and artifacts."""
