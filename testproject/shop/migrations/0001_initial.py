import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Customer",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("number", models.PositiveIntegerField(unique=True)),
            ],
            options={
                "ordering": ("number",),
            },
        ),
        migrations.CreateModel(
            name="MonthlySales",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("month", models.DateField(unique=True)),
                ("purchases", models.PositiveIntegerField(default=0)),
                ("turnover", models.DecimalField(decimal_places=2, default=0, max_digits=12)),
            ],
            options={
                "verbose_name_plural": "monthly sales",
                "ordering": ("month",),
            },
        ),
        migrations.CreateModel(
            name="LoyaltyAccount",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("total", models.DecimalField(decimal_places=2, default=0, max_digits=10)),
                (
                    "customer",
                    models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, to="shop.customer"),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("date", models.DateField()),
                ("cds", models.PositiveSmallIntegerField(verbose_name="CDs")),
                ("total", models.DecimalField(decimal_places=2, max_digits=8)),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="orders",
                        to="shop.customer",
                    ),
                ),
            ],
            options={
                "ordering": ("date", "pk"),
            },
        ),
        migrations.CreateModel(
            name="Charge",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("amount", models.DecimalField(decimal_places=2, max_digits=8)),
                (
                    "order",
                    models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, to="shop.order"),
                ),
            ],
        ),
    ]
