"""Progress and results of a job, also in an experiment tracker."""
