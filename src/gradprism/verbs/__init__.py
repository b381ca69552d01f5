"""What each verb of the command does: settings in, a job run, its result shown. One file a verb."""
