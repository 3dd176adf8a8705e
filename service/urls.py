"""Addresses of the service: the API, the admin panel, and the way from / to the panel."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("service.api.urls")),
    path("admin/", admin.site.urls),
    path("", RedirectView.as_view(url="/admin/")),
]

# What Django answers by itself is problem+json under /api too.
handler400 = "service.api.errors.django_400"
handler403 = "service.api.errors.django_403"
handler404 = "service.api.errors.django_404"
handler500 = "service.api.errors.django_500"
