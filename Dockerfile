FROM python:3.11-slim

WORKDIR /srv/altprop
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir -r requirements.lock
COPY . .

RUN useradd --create-home altprop && mkdir /data && chown altprop /data
USER altprop
ENV PYTHONUNBUFFERED=1 PYTHONPATH=/srv/altprop
RUN SECRET_KEY=build python manage.py collectstatic --noinput
# The image holds no checkout, so whoever builds it says which commit it is: results and reports name it.
ARG ALTPROP_COMMIT=""
ENV ALTPROP_COMMIT=$ALTPROP_COMMIT
