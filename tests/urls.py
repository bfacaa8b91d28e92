"""The URLs of the tests' project: the admin, and metrics."""

from django.contrib import admin
from django.urls import path

from django_redis_streams import metrics

urlpatterns = [path("admin/", admin.site.urls), path("metrics", metrics.view)]
