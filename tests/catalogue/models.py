"""Models that publish nothing by themselves: each test declares what it needs."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models


class Author(models.Model):
    """Somebody who writes."""

    name = models.CharField(max_length=100)

    def __str__(self):
        return self.name


class Book(models.Model):
    """A model with fields of many kinds."""

    title = models.CharField(max_length=100)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, null=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    released = models.DateField(null=True)
    cover = models.FileField(blank=True)
    scan = models.BinaryField(default=b"")
    readers = models.ManyToManyField(Author, related_name="read")

    def __str__(self):
        return self.title


class OldBook(Book):
    """The same rows, by another name."""

    class Meta:
        proxy = True


class PaperBook(Book):
    """A book with a further table."""

    pages = models.IntegerField(default=1)


class OldPaperBook(PaperBook):
    """The same rows of both tables, by another name."""

    class Meta:
        proxy = True


class Item(models.Model):
    """A model whose database has a say in its values."""

    net = models.IntegerField()
    gross = models.GeneratedField(expression=models.F("net") * 2, output_field=models.IntegerField(), db_persist=True)
    state = models.IntegerField(db_default=7)

    def __str__(self):
        return f"{self.net}"


class Seat(models.Model):
    """A model that is known by two columns."""

    pk = models.CompositePrimaryKey("row", "number")
    row = models.IntegerField()
    number = models.IntegerField()
    taken = models.BooleanField(default=False)

    def __str__(self):
        return f"{self.row}/{self.number}"


class VisibleManager(models.Manager):
    """Knows nothing of what is hidden, as projects delete without deleting."""

    def get_queryset(self):
        """Leaves the hidden out."""
        return super().get_queryset().filter(hidden=False)


class Page(models.Model):
    """A model whose base manager filters."""

    title = models.CharField(max_length=100)
    views = models.IntegerField(default=0)
    twice = models.GeneratedField(expression=models.F("views") * 2, output_field=models.IntegerField(), db_persist=True)
    hidden = models.BooleanField(default=False)

    objects = VisibleManager()

    class Meta:
        base_manager_name = "objects"
        ordering = ("title",)

    def __str__(self):
        return self.title


class OldPage(Page):
    """The same rows, by another name."""

    class Meta:
        proxy = True


class FrontPage(Page):
    """A page with a further table."""

    place = models.IntegerField(default=1)


class SetEncoder(DjangoJSONEncoder):
    """Writes a set as a list."""

    def default(self, o):
        """A list, for a set."""
        return sorted(o) if isinstance(o, set) else super().default(o)


class Reading(models.Model):
    """A model that its database takes more of than JSON can hold."""

    tags = models.JSONField(encoder=SetEncoder, null=True)

    def __str__(self):
        return f"{self.tags}"


class DeepReading(Reading):
    """A reading with a further table."""

    depth = models.IntegerField(default=1)
