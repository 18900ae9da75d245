{#- Within the box from 4 to 21.5 degrees north and 116 to 128 degrees east: the archipelago and the
    trenches beside it. False where a coordinate is missing. -#}
{% macro is_near_philippines(latitude, longitude) -%}
    coalesce({{ latitude }} between 4 and 21.5 and {{ longitude }} between 116 and 128, false)
{%- endmacro %}
