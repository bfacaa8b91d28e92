"""What publishers and handlers write into the database. Nothing keeps a row from being there twice."""

from django.db import models


class Sale(models.Model):
    """What a publisher wrote in the transaction in which it published the message `number`."""

    number = models.CharField(max_length=50)

    def __str__(self) -> str:
        return self.number


class Effect(models.Model):
    """What a handler did for a message."""

    stream = models.CharField(max_length=50)
    group = models.CharField(max_length=50)
    number = models.CharField(max_length=50)

    def __str__(self) -> str:
        return f"{self.stream}:{self.group} {self.number}"
