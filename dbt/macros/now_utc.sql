{#- This moment by BigQuery's clock; see manila_today. -#}
{% macro now_utc() -%}
    current_timestamp()
{%- endmacro %}
