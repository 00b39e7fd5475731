"""What can be wrong with a job or its surroundings, as opposed to the training itself."""


class JobError(Exception):
    """The job, the artifact or a file in it does not fit; the message says what to change."""
