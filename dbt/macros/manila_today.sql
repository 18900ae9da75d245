{#- Today in the Philippines, by BigQuery's clock: where every calendar ends. Models take the day
    from here and the moment from now_utc, so that a unit test can stop the clock. A source whose
    models do so says `follows_calendar` in its yml, and is built once per Manila day. -#}
{% macro manila_today() -%}
    current_date('Asia/Manila')
{%- endmacro %}
